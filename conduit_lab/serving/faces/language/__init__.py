"""Language models as protocols see them: by name, asked for text, read in parts."""
