package spool

import (
	"bytes"
	"errors"
	"io"
	"os"
	"testing"
	"testing/iotest"
	"testing/synctest"
)

func TestALargeBodyIsInAFileWithoutANameAndASmallOneInMemory(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	for _, size := range []int{0, 1, Large, Large + 1, 3*Large + 7} {
		for _, expected := range []int64{-1, int64(size), 1} {
			want := bytes.Repeat([]byte("0123456789"), size/10+1)[:size]
			b, file, err := Read(bytes.NewReader(want), expected)
			if err != nil {
				t.Fatal(err)
			}
			if (file != nil) != (size > Large) {
				t.Errorf("%d bytes are in a file: got %t, want %t", size, file != nil, size > Large)
			}
			if file != nil {
				if b, err = file.Bytes(0); err != nil {
					t.Fatal(err)
				}
			}
			if !bytes.Equal(b, want) {
				t.Errorf("%d bytes were read back as %d different ones", size, len(b))
			}
			if names, err := os.ReadDir(os.TempDir()); err != nil || len(names) > 0 {
				t.Errorf("the file has a name: %v, %v", names, err)
			}
			file.Close()
		}
	}
}

func TestTheBytesBeforeAnErrorAreReturned(t *testing.T) {
	broken := errors.New("broken")
	for _, size := range []int{10, Large + 10} {
		b, file, err := Read(io.MultiReader(bytes.NewReader(make([]byte, size)), iotest.ErrReader(broken)), -1)
		if got := int64(len(b)) + file.Size(); !errors.Is(err, broken) || got != int64(size) {
			t.Errorf("%d bytes and then an error: got %d bytes, %v", size, got, err)
		}
		file.Close()
	}
}

func TestABodyIsInMemoryIfNoFileCanBeCreated(t *testing.T) {
	t.Setenv("TMPDIR", "/does/not/exist")
	want := bytes.Repeat([]byte("x"), 2*Large)
	b, file, err := Read(bytes.NewReader(want), -1)
	if err != nil || file != nil || !bytes.Equal(b, want) {
		t.Errorf("got %d bytes, in a file: %t, %v; want %d bytes in memory", len(b), file != nil, err, len(want))
	}
}

func TestABodyMovesToMemoryIfItsFileCannotBeWritten(t *testing.T) {
	f, err := NewFile()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Write([]byte("abc")); err != nil {
		t.Fatal(err)
	}
	b, file, err := f.toMemory([]byte("def"), bytes.NewReader([]byte("ghi")), nil)
	if string(b) != "abcdefghi" || file != nil || err != nil {
		t.Errorf("got %q, in a file: %t, %v; want abcdefghi in memory", b, file != nil, err)
	}
}

func TestMemoryIsBoundedAndRequestsAreGrantedInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := NewMemory(10)
		release, _ := m.Take(100, nil) // counts as 10
		granted := make(chan int, 3)
		frees := make([]func(), 3)
		for i, n := range []int64{8, 3, 1} {
			go func() {
				frees[i], _ = m.Take(n, nil)
				granted <- i
			}()
			synctest.Wait()
		}
		if len(granted) > 0 {
			t.Fatal("more bytes were taken than are free")
		}
		release()
		synctest.Wait()
		if len(granted) != 1 || <-granted != 0 {
			t.Fatal("want only the first request to be granted: a later one that fits must not overtake one that does not")
		}
		frees[0]()
		synctest.Wait()
		if len(granted) != 2 {
			t.Errorf("got %d more granted requests, want 2", len(granted))
		}
	})
}

func TestARequestThatIsGivenUpDoesNotDelayOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, stop := NewMemory(10), make(chan struct{})
		release, _ := m.Take(8, nil)
		gaveUp, served := make(chan bool, 1), make(chan bool, 1)
		go func() {
			free, ok := m.Take(5, stop)
			free()
			gaveUp <- !ok
		}()
		synctest.Wait()
		go func() {
			free, ok := m.Take(2, nil)
			free()
			served <- ok
		}()
		synctest.Wait()
		close(stop)
		if !<-gaveUp || !<-served {
			t.Error("want the first request to be given up and the second to be granted")
		}
		release()
		if free, _ := m.Take(10, nil); m.free != 0 {
			t.Errorf("%d bytes are free, want 0 of 10", m.free)
		} else {
			free()
		}
	})
}
