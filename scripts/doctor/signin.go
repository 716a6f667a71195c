package main

import (
	"strings"

	"itemsapi/scripts/internal/report"
	"itemsapi/scripts/internal/signin"
)

// explainErrors explains what a sign-in, a library or a browser says where there is no
// token, each error that the text has.
func (d *doctor) explainErrors(text string) {
	found := signin.Find(text)
	if found == nil {
		d.Add(report.Check{
			Name: "sign-in", Status: report.StatusFail, Detail: "It says: " + signin.Said(text, ""),
			Fix: "No code that is known stands in it. Paste the whole message, with what comes before and after.",
		})
	}
	for _, e := range found {
		c := report.Check{
			Name: sayers[e.From].name, Status: report.StatusFail, Code: e.Code,
			Detail: strings.TrimSpace(e.Meaning + " " + e.Cause), Fix: e.Fix,
		}
		if !e.Explained() {
			c.Detail, c.Fix = "The code is not in the catalogue.", sayers[e.From].lookUp
		}
		if e.From == "entra" {
			c.Detail = "This is an error of Entra ID (or External ID), not of B2C. " + c.Detail
			c.Fix += " Where B2C was meant, the authority is wrong (login.microsoftonline.com without a policy), or " +
				"Entra ID is B2C's identity provider."
		}
		if said := signin.Said(text, e.Code); len(said) > len(e.Code)+3 {
			c.Detail += " It says: " + said
		}
		d.Add(c)
	}
}

// sayers are those who say what the catalogue explains, and where to look up what it does not.
var sayers = map[string]struct{ name, lookUp string }{
	"b2c": {
		"sign-in", "Look it up in Microsoft's \"Error codes: Azure Active Directory B2C\"; the correlation ID " +
			"leads support to it.",
	},
	"entra": {
		"sign-in", "https://login.microsoftonline.com/error?code= with the number behind it explains it.",
	},
	"msal":    {"MSAL", ""},
	"oauth":   {"sign-in", ""},
	"dotnet":  {".NET's token validation", "Search for the code in Microsoft's documentation of IdentityModel."},
	"browser": {"browser", ""},
}
