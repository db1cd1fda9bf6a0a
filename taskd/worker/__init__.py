"""What a Celery worker does for taskd: claim before the start, record every outcome, show signs of life."""
