"""Scripts that keep generated pages true. `make docs` runs them; tests fail when a page has drifted."""
