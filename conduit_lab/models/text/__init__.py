"""Models that read text: embedders, rerankers and classifiers with their tokenizer."""
