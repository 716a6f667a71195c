//go:build !unix

package spatest_test

import "errors"

func pause(int, bool) error { return errors.ErrUnsupported }
