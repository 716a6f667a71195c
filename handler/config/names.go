package config

// The API's own names, from which everything else takes them.
const (
	// Collection is what the API keeps, as its routes call it, and the default of ITEMS_TABLE.
	Collection = "items"
	// CollectionPath is where the collection is.
	CollectionPath = "/api/" + Collection
	// Realm is what the API calls itself in challenges and in the types of its problems.
	Realm = Collection + "api"
)
