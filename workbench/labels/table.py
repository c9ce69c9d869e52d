"""Where a label search leaves its results: the folder in that of the first run, the table and the page."""

PAGE, TABLE, FOLDER = "labels.html", "labels.csv", "labels"
