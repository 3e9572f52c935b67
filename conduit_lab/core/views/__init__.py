"""Views: the static text and HTML of a value, its figures and charts."""
