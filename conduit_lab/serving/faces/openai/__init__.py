"""The API of OpenAI: models, chat completions, completions, embeddings and responses."""
