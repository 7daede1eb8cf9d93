"""Draw pictures with a pipeline: samples, class pictures, validation losses, contact sheets."""
