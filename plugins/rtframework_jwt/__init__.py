"""Authentication by JSON Web Token (RFC 7519) for rtframework."""

from .auth import JWTAuth

__all__ = ["JWTAuth"]
