package main

import (
	"io"
	"time"

	"itemsapi/scripts/internal/report"
	"itemsapi/scripts/internal/tokenpage"
)

// compare shows an access token's claims beside what the API expects. It does not fail:
// what the API would say is doctor's verdict.
func compare(out io.Writer, r request, issuer, token string, now time.Time) error {
	rows, err := tokenpage.Compare(r.tenant, issuer, r.scopes, token, now)
	if err != nil {
		return err
	}
	p := report.New(out, false)
	for _, row := range rows {
		if row.OK {
			p.OK(row.Claim, "%s (%s)", row.Value, row.Expected)
			continue
		}
		value := row.Value
		if value == "" {
			value = "absent"
		}
		p.Fail(row.Claim, value, "The API expects "+row.Expected+": "+row.Otherwise)
	}
	p.Finish()
	return nil
}
