package views

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tidemill/tidemill/internal/bridge"
)

// CatchUp waits until the view is ready, and returns once its local copy holds what had happened by then: also what the
// processors on the way to it (Config.Processor) had not processed yet, which is all of the log where their application is
// new. In a shared view it is about the partitions that are held here. The error is ctx's, or says why the way cannot be followed.
func (v *View[K, V]) CatchUp(ctx context.Context) error {
	select {
	case <-v.Ready():
	case <-ctx.Done():
		return fmt.Errorf("waiting for view %s: %w", v.name, ctx.Err())
	}
	now := time.Now()
	for number := range v.bridge.Partitions() {
		if err := v.bridge.AwaitAsOf(ctx, number, now); err != nil && !errors.Is(err, bridge.ErrViewElsewhere) {
			return fmt.Errorf("view %s: %w", v.name, err)
		}
	}
	return nil
}
