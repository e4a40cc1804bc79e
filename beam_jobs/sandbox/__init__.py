"""Generated programs, run where they can do no harm, and judged outside the process that ran them."""
