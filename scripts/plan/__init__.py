"""Claims about the prediction of memory, held against what others measured on GPUs."""
