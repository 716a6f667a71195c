package main

import "itemsapi/scripts/internal/signin"

// explainSignIn explains what B2C says when it gives no token.
func (d *doctor) explainSignIn(text string) {
	const name = "sign-in"
	known, ok := signin.Find(text)
	c := check{
		Name: name, Status: statusFail, Code: known.Code, Detail: known.Meaning + " " + known.Cause,
		Fix: known.Fix,
	}
	if !ok {
		c.Detail = "B2C refused: " + cut(text)
		c.Fix = "This error is not in the catalogue. Look its code up in Microsoft's \"Error codes: Azure Active " +
			"Directory B2C\"; the correlation ID leads support to it."
	}
	d.add(c)
}
