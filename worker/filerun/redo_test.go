package filerun

import (
	"reflect"
	"strings"
	"testing"
)

func TestReadCallRefsReadsEveryFormOfAKey(t *testing.T) {
	text := "\xef\xbb\xbfa\r\n\n \"b c\" \n{\"state\":\"done\",\"key\":\"d\",\"digest\":\"00\"}\n{\"key\":7}\n8"
	got, err := ReadCallRefs(strings.NewReader(text))
	want := []CallRef{{Key: "a"}, {Key: "b c"}, {"d", "00"}, {Key: "7"}, {Key: "8"}}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, %v; want %v", got, err, want)
	}
	for _, bad := range []string{"{", `{"key":null}`, `{"kee":"a"}`, `"a`} {
		if got, err := ReadCallRefs(strings.NewReader(bad)); err == nil {
			t.Errorf("%q: got %v, want an error", bad, got)
		}
	}
}
