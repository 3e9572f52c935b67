"""What writes text: a decoder's folder, its prompts, the steps of many texts at once, and what comes of them."""
