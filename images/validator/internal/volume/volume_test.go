package volume

import (
	"errors"
	"os"
	"testing"
)

func TestASecondLockOnTheSameVolumeIsRefusedUntilTheFirstIsReleased(t *testing.T) {
	home := t.TempDir()
	first, err := Acquire(home)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Acquire(home); !errors.Is(err, ErrLocked) {
		t.Errorf("second lock: %v, want ErrLocked", err)
	}
	if err := first.Release(); err != nil {
		t.Fatal(err)
	}
	again, err := Acquire(home)
	if err != nil {
		t.Fatalf("after release: %v", err)
	}
	_ = again.Release()
}

func TestTheSignStateIsCreatedOnceAndNeverReplaced(t *testing.T) {
	home := t.TempDir()
	if _, err := SignedHeight(home); !errors.Is(err, ErrNoSignState) {
		t.Fatalf("empty volume: %v, want ErrNoSignState", err)
	}
	if err := CreateSignState(home); err != nil {
		t.Fatal(err)
	}
	if height, err := SignedHeight(home); err != nil || height != 0 {
		t.Fatalf("created: height %d, %v", height, err)
	}
	if err := os.WriteFile(SignStatePath(home), []byte(`{"height":"17","round":0,"step":3}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := CreateSignState(home); err == nil {
		t.Error("a second creation was accepted")
	}
	if height, err := SignedHeight(home); err != nil || height != 17 {
		t.Errorf("after a second creation: height %d, %v; want 17", height, err)
	}
	if entries, _ := os.ReadDir(DataDir(home)); len(entries) != 1 {
		t.Errorf("left over: %v", entries)
	}
}

func TestADamagedSignStateIsNotAMissingOne(t *testing.T) {
	home := t.TempDir()
	if err := os.Mkdir(DataDir(home), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, content := range []string{"", "{", `{"height":7}`, `{"height":"-1"}`} {
		if err := os.WriteFile(SignStatePath(home), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := SignedHeight(home); err == nil || errors.Is(err, ErrNoSignState) {
			t.Errorf("%q: %v, want an error that is not ErrNoSignState", content, err)
		}
	}
}

func TestADoubleSignCheckIsRequestedUntilItIsDone(t *testing.T) {
	home := t.TempDir()
	for _, step := range []struct {
		do   func(string) error
		want bool
	}{{nil, false}, {RequestDoubleSignCheck, true}, {RequestDoubleSignCheck, true}, {DoubleSignCheckDone, false}} {
		if step.do != nil {
			if err := step.do(home); err != nil {
				t.Fatal(err)
			}
		}
		if got, err := DoubleSignCheckRequested(home); err != nil || got != step.want {
			t.Errorf("requested %v, %v; want %v", got, err, step.want)
		}
	}
}
