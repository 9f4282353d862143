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
				t.Errorf("%d bytes are in a file: %t", size, file != nil)
			}
			if file != nil {
				if b, err = file.Bytes(0); err != nil {
					t.Fatal(err)
				}
			}
			if !bytes.Equal(b, want) {
				t.Errorf("%d bytes came back as %d others", size, len(b))
			}
			if names, err := os.ReadDir(os.TempDir()); err != nil || len(names) > 0 {
				t.Errorf("a file has a name: %v %v", names, err)
			}
			file.Close()
		}
	}
}

func TestABodyThatEndsInAnErrorIsKeptAsFarAsItCame(t *testing.T) {
	broken := errors.New("broken")
	for _, size := range []int{10, Large + 10} {
		b, file, err := Read(io.MultiReader(bytes.NewReader(make([]byte, size)), iotest.ErrReader(broken)), -1)
		if got := int64(len(b)) + file.Size(); !errors.Is(err, broken) || got != int64(size) {
			t.Errorf("%d bytes and then an error came as %d bytes, %v", size, got, err)
		}
		file.Close()
	}
}

func TestABodyIsInMemoryWhereNoFileCanBeMade(t *testing.T) {
	t.Setenv("TMPDIR", "/does/not/exist")
	want := bytes.Repeat([]byte("x"), 2*Large)
	b, file, err := Read(bytes.NewReader(want), -1)
	if err != nil || file != nil || !bytes.Equal(b, want) {
		t.Errorf("%d bytes, in a file: %t, %v", len(b), file != nil, err)
	}
}

func TestABodyMovesToMemoryWhereItsFileTakesNoMore(t *testing.T) {
	f, err := NewFile()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Write([]byte("abc")); err != nil {
		t.Fatal(err)
	}
	b, file, err := f.toMemory([]byte("def"), bytes.NewReader([]byte("ghi")), nil)
	if string(b) != "abcdefghi" || file != nil || err != nil {
		t.Errorf("%q, in a file: %t, %v", b, file != nil, err)
	}
}

func TestNoMoreBytesAreTakenThanThereAreAndWhoComesFirstIsServedFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := NewMemory(10)
		release, _ := m.Take(100, nil) // counts as all
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
			t.Fatal("more is taken than there is")
		}
		release()
		synctest.Wait()
		if len(granted) != 1 || <-granted != 0 {
			t.Fatal("the first one is not the one that is served, or one that fits went ahead of one that does not")
		}
		frees[0]()
		synctest.Wait()
		if len(granted) != 2 {
			t.Errorf("%d of 2 are served that fit", len(granted))
		}
	})
}

func TestWhoStopsWaitingForMemoryHoldsNobodyUp(t *testing.T) {
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
			t.Error("who stopped waiting took memory, or who stood behind got none")
		}
		release()
		if free, _ := m.Take(10, nil); m.free != 0 {
			t.Errorf("%d bytes are free of 10 that are taken", m.free)
		} else {
			free()
		}
	})
}
