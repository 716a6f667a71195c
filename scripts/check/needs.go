package main

import (
	"os"
	"os/exec"
)

// need is something that a machine may lack.
type need struct {
	what string // what is left out without it
	lack string // why, for people; empty if the machine has it
	ci   bool   // CI must have it
}

// needs looks at this machine. raceError says why there is no race detector.
func needs(short bool, raceError string) []need {
	all := []need{
		{"Azure Functions Core Tools", noneOf("func"), false},
		{"the documents that B2C publishes", unset("B2C_FIXTURES"), false},
		{"Bicep", noneOf("bicep"), false},
		{"azd", noneOf("azd"), false},
	}
	if short {
		return append(all, need{"npm ci and the race detector", "-short", false})
	}
	all = append(all, need{"Azurite and the mobile app", noneOf("npm"), true},
		need{"the race detector, which takes a C compiler", raceError, true})
	if _, err := os.Stat("clients/spa"); err == nil {
		browser := noneOf("chromium", "chromium-headless-shell", "chromium-browser", "google-chrome")
		all = append(all, need{"the browser", browser, true})
	}
	return all
}

// judge names what is skipped, and what of it must not be missing in CI.
func judge(needs []need, ci bool) (skipped, missing []string) {
	for _, n := range needs {
		text := n.what + " (" + n.lack + ")"
		switch {
		case n.lack == "":
		case ci && n.ci:
			missing = append(missing, text)
		default:
			skipped = append(skipped, text)
		}
	}
	return skipped, missing
}

// noneOf is the lack of all these programs, of which one would do.
func noneOf(programs ...string) string {
	for _, p := range programs {
		if _, err := exec.LookPath(p); err == nil {
			return ""
		}
	}
	return "no " + programs[0]
}

func unset(variable string) string {
	if os.Getenv(variable) == "" {
		return variable + " is not set"
	}
	return ""
}
