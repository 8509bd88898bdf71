"""The server: faces, galleries, videos and liveness over HTTP, for programs and for the web page. Extra: `server`."""
