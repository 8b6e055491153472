"""What one would write without this project: whole programs from photographs to Parquet."""
