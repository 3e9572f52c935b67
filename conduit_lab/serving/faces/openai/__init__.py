"""OpenAI's API: models, chat completions, completions, embeddings and responses."""
