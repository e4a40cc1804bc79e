"""Text to shards of model ids: `python -m beam_jobs.equal_info --input TEXT --output FOLDER`."""
