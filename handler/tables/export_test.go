package tables

import "time"

// SetLogLife changes how long the log is kept.
func (s *Store) SetLogLife(d time.Duration) { s.logLife = d }
