"""A small web application on the cache: jobs list, job page, preferences, login and logout. `make example` runs it."""
