"""Name the release: one number for the packages and the HTTP contract; models have their own."""

VERSION = "1.0.0"
