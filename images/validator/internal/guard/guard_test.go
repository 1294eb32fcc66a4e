package guard

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"jil.io/validator/internal/volume"
)

const uid = "6e2b3f0c-0000-4000-8000-000000000001"

// annotations writes a downward API file as the kubelet does: key=%q, sorted, replaced as a whole.
func annotations(t *testing.T, path, permit string) {
	t.Helper()
	content := "a=\"b\"\n"
	if permit != "" {
		content += fmt.Sprintf("%s=%q\n", Annotation, permit)
	}
	content += "kubernetes.io/config.source=\"api\"\n"
	if err := os.WriteFile(path+".new", []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

func permit(mode Mode, minHeight int64) string {
	return fmt.Sprintf(`{"podUID":%q,"mode":%q,"minHeight":%d}`, uid, mode, minHeight)
}

func signState(t *testing.T, home, height string) {
	t.Helper()
	if err := os.MkdirAll(volume.DataDir(home), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(volume.SignStatePath(home), []byte(`{"height":"`+height+`","round":0,"step":3}`), 0o600); err != nil {
		t.Fatal(err)
	}
}

func options(t *testing.T) Options {
	return Options{
		PodInfo: filepath.Join(t.TempDir(), "annotations"), PodUID: uid, Home: t.TempDir(),
		Poll: time.Millisecond, Report: time.Hour, Log: slog.New(slog.NewTextHandler(io.Discard, nil)),
	}
}

func TestWhatAPermitAllowsOnAVolume(t *testing.T) {
	for name, test := range map[string]struct {
		permit string
		state  string // height of the sign state that is there, "" for none
		want   string // part of the error, "" for success
		height int64  // afterwards
		check  bool   // double sign check requested afterwards
	}{
		"create on an empty volume makes the sign state":  {permit(Create, 0), "", "", 0, false},
		"create keeps a sign state that exists":           {permit(Create, 0), "17", "", 17, false},
		"create checks what exists like require":          {permit(Create, 20), "17", "SignStateLost", 17, false},
		"create with a height on an empty volume refuses": {permit(Create, 20), "", "create and minHeight 20", -1, false},
		"require finds the sign state":                    {permit(Require, 17), "17", "", 17, false},
		"require on an empty volume refuses":              {permit(Require, 0), "", "SignStateLost", -1, false},
		"require refuses an old copy of the volume":       {permit(Require, 18), "17", "SignStateLost", 17, false},
		"check finds it and asks for the search":          {permit(Check, 17), "17", "", 17, true},
		"check on an empty volume refuses":                {permit(Check, 0), "", "SignStateLost", -1, false},
		"check refuses an old copy of the volume":         {permit(Check, 18), "17", "SignStateLost", 17, false},
		"a damaged sign state is refused":                 {permit(Create, 0), "x", "damaged", -1, false},
	} {
		t.Run(name, func(t *testing.T) {
			o := options(t)
			annotations(t, o.PodInfo, test.permit)
			if test.state != "" {
				signState(t, o.Home, test.state)
			}
			err := Run(context.Background(), o)
			if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
				t.Errorf("got %v, want %q", err, test.want)
			}
			height, err := volume.SignedHeight(o.Home)
			if test.height >= 0 && height != test.height || (test.height < 0) != (err != nil) {
				t.Errorf("afterwards the sign state is at %d, %v; want %d", height, err, test.height)
			}
			if check, err := volume.DoubleSignCheckRequested(o.Home); err != nil || check != test.check {
				t.Errorf("double sign check requested: %v, %v; want %v", check, err, test.check)
			}
		})
	}
}

func TestNothingButAPermitForThisPodEndsTheWaiting(t *testing.T) {
	o := options(t)
	for name, content := range map[string]string{
		"none":           "",
		"another pod's":  strings.Replace(permit(Create, 0), uid, "another", 1),
		"no pod":         `{"mode":"create"}`,
		"garbage":        "{",
		"unknown mode":   permit("anything", 0),
		"no mode":        `{"podUID":"` + uid + `"}`,
		"below zero":     permit(Create, -1),
		"height as text": `{"podUID":"` + uid + `","mode":"create","minHeight":"0"}`,
	} {
		annotations(t, o.PodInfo, content)
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
		err := Run(ctx, o)
		cancel()
		if err == nil {
			t.Errorf("%s: it went on", name)
		}
		if _, err := volume.SignedHeight(o.Home); err == nil {
			t.Fatalf("%s: a sign state was made", name)
		}
	}
}

func TestItGoesOnWhenThePermitAppearsLater(t *testing.T) {
	o := options(t) // not even the file is there
	done := make(chan error, 1)
	go func() { done <- Run(context.Background(), o) }()
	annotations(t, o.PodInfo, "")
	annotations(t, o.PodInfo, permit(Create, 0))
	select {
	case err := <-done:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("still waiting")
	}
}

func TestItSaysWhatItWaitsForAgainAndAgain(t *testing.T) {
	o := options(t)
	out := &lockedBuffer{}
	o.Report, o.Log = 5*time.Millisecond, slog.New(slog.NewJSONHandler(out, nil))
	annotations(t, o.PodInfo, strings.Replace(permit(Create, 0), uid, "another", 1))
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	_ = Run(ctx, o)
	if said := strings.Count(out.String(), "the permit is for pod UID"); said < 2 {
		t.Errorf("said %d times what it waits for:\n%s", said, out.String())
	}
}

func TestAVolumeInUseIsLeftAlone(t *testing.T) {
	o := options(t)
	annotations(t, o.PodInfo, permit(Create, 0))
	lock, err := volume.Acquire(o.Home)
	if err != nil {
		t.Fatal(err)
	}
	if err := Run(context.Background(), o); err == nil || !strings.Contains(err.Error(), "volume is in use") {
		t.Errorf("got %v", err)
	}
	if _, err := volume.SignedHeight(o.Home); err == nil {
		t.Error("a sign state was made on a volume in use")
	}
	_ = lock.Release()
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
