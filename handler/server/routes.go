package server

import "net/http"

// Route is a method and a path that the API serves.
type Route struct {
	Method string
	Path   string // {id} stands for one segment
}

// Routes are what the API serves. Of c it needs the Collection.
func (c Config) Routes() []Route {
	var all []Route
	for _, rt := range (&server{Config: c}).table() {
		all = append(all, Route{rt.method, rt.pattern})
		if rt.method == http.MethodGet {
			all = append(all, Route{http.MethodHead, rt.pattern})
		}
	}
	return all
}

// path is where the collection is.
func (c Config) path() string { return "/api/" + c.Collection }
