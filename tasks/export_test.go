package tasks

import "time"

// ReadSeldom makes [Client.Wait] read a call's record only when it is announced that the
// call has ended.
func (c *Client) ReadSeldom() { c.subscribedEvery = time.Hour }
