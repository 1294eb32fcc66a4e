// Package guard holds a validator back until the operator has permitted this very pod to start, and checks that the
// volume still holds the sign state that the permit presumes.
package guard

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"jil.io/validator/internal/volume"
)

// Options of Run. Poll and Report have the contract's values in the command; tests shorten them.
type Options struct {
	PodInfo string // downward API file with the pod's annotations
	PodUID  string
	Home    string
	Poll    time.Duration
	Report  time.Duration // how often to say what it waits for
	Log     *slog.Logger
}

// Run waits without limit for the permit, then prepares or checks the volume. No permit is no error: a dead operator
// must not make validators start. It returns an error with its remedy when the volume is not what the permit presumes.
func Run(ctx context.Context, o Options) error {
	permit, err := await(ctx, o)
	if err != nil {
		return err
	}
	o.Log.Info("permit found", "mode", permit.Mode, "minHeight", permit.MinHeight)
	lock, err := volume.Acquire(o.Home)
	if err != nil {
		return err
	}
	err = enforce(o, *permit)
	return errors.Join(err, lock.Release())
}

func await(ctx context.Context, o Options) (*Permit, error) {
	ticker := time.NewTicker(o.Poll)
	defer ticker.Stop()
	started := time.Now()
	var reported time.Time
	for {
		reason := ""
		annotations, err := os.ReadFile(o.PodInfo)
		if err != nil {
			reason = fmt.Sprintf("the pod's annotations cannot be read: %v", err)
		} else {
			var permit *Permit
			if permit, reason = findPermit(annotations, o.PodUID); permit != nil {
				return permit, nil
			}
		}
		if time.Since(reported) >= o.Report {
			reported = time.Now()
			o.Log.Info("waiting for the start permit", "because", reason, "podUID", o.PodUID, "seconds", int(time.Since(started).Seconds()))
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("stopped while waiting for the start permit: %w", ctx.Err())
		case <-ticker.C:
		}
	}
}

func enforce(o Options, permit Permit) error {
	height, err := volume.SignedHeight(o.Home)
	if errors.Is(err, volume.ErrNoSignState) {
		if permit.Mode != Create {
			return fmt.Errorf("SignStateLost: %w, but this validator has signed before (up to height %d or more). Nothing is started: "+
				"a zeroed sign state with a used key can sign twice. Bring back the volume that has it, or have the loss confirmed by an operation, "+
				"which seeds it above the chain's height", err, permit.MinHeight)
		}
		if permit.MinHeight > 0 {
			return fmt.Errorf("the permit says create and minHeight %d at once: a key that signed cannot have a new sign state. "+
				"The permit is wrong; nothing is started", permit.MinHeight)
		}
		if err := volume.CreateSignState(o.Home); err != nil {
			return err
		}
		o.Log.Info("sign state created", "file", volume.SignStatePath(o.Home))
		return nil
	}
	if err != nil {
		return err
	}
	if height < permit.MinHeight {
		return fmt.Errorf("SignStateLost: the sign state is at height %d, but height %d was seen signed with this key. An old copy of the volume "+
			"was put back; starting could sign twice. Bring back the newest volume, or have the loss confirmed by an operation", height, permit.MinHeight)
	}
	if permit.Mode == Check {
		if err := volume.RequestDoubleSignCheck(o.Home); err != nil {
			return err
		}
	}
	o.Log.Info("sign state found", "height", height, "doubleSignCheck", permit.Mode == Check)
	return nil
}
