"""The stations of a request before it reaches a connection: origins, cookies, proxies, middleware, refusals."""
