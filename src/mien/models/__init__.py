"""One model, one file; the registry names them, the store fetches their weights, the runtime runs them."""
