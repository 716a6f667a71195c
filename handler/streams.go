package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"

	"itemsapi/handler/config"
)

// streams is a log of JSON lines: DEBUG and INFO on stdout, WARN and ERROR on stderr. The
// Functions host takes a line's level from its stream alone, whatever the line says: stdout
// is Information, stderr is Error, or Warning where the word stands in the line, as it does
// in the level of one of ours.
type streams struct{ stdout, stderr slog.Handler }

func newLog(level slog.Level, stdout, stderr io.Writer) *slog.Logger {
	options := &slog.HandlerOptions{Level: level}
	return slog.New(streams{slog.NewJSONHandler(stdout, options), slog.NewJSONHandler(stderr, options)})
}

func (s streams) of(level slog.Level) slog.Handler {
	if level >= slog.LevelWarn {
		return s.stderr
	}
	return s.stdout
}

func (s streams) Enabled(ctx context.Context, level slog.Level) bool {
	return s.of(level).Enabled(ctx, level)
}

func (s streams) Handle(ctx context.Context, r slog.Record) error {
	return s.of(r.Level).Handle(ctx, r)
}

func (s streams) WithAttrs(attrs []slog.Attr) slog.Handler {
	return streams{s.stdout.WithAttrs(attrs), s.stderr.WithAttrs(attrs)}
}

func (s streams) WithGroup(name string) slog.Handler {
	return streams{s.stdout.WithGroup(name), s.stderr.WithGroup(name)}
}

// failed says why the handler did not start: all of it on stdout, and the sentence that
// matters as the last line, on stderr too, which is what the host puts into its own error.
// There it hides what follows words such as AccountKey=, so that line has no example.
func failed(err error, stdout, stderr io.Writer) {
	last := fmt.Sprintf("handler: did not start: %v\n", err)
	if settings, ok := errors.AsType[*config.Error](err); ok {
		fmt.Fprintf(stdout, "handler: %v\n", err)
		last = "handler: did not start: " + sentence(settings.Problems[0]) + more(len(settings.Problems)-1) + "\n"
	}
	fmt.Fprint(stdout, last)
	fmt.Fprint(stderr, last)
}

// sentence is a problem without its example.
func sentence(problem string) string {
	problem, _, _ = strings.Cut(problem, " Example: ")
	return strings.TrimSuffix(problem, ".")
}

func more(others int) string {
	switch others {
	case 0:
		return ""
	case 1:
		return " (and 1 more problem, which the lines before on stdout tell)"
	default:
		return fmt.Sprintf(" (and %d more problems, which the lines before on stdout tell)", others)
	}
}
