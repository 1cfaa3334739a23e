"""What a request passes before it reaches a connection: origins, cookies, proxies, middleware, refusals."""
