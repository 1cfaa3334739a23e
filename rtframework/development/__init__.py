"""Development mode: a server tells its programmer, in the terminal, what it would otherwise take in silence.

``rtframework run --reload`` and ``--dev`` switch it on. A program that is started in another way calls
:func:`develop` before it serves::

    if __name__ == "__main__":
        develop()
        web.run_app(app)
"""

from .mode import develop

__all__ = ["develop"]
