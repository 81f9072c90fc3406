"""The version, where both the package's metadata and its runs find it."""

VERSION = "0.1.0"
