"""Language: the language models of an app, for the protocols that serve text generation."""
