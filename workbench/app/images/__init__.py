"""The images that the pages show: photos of data, photos of users, figures of runs. Nobody can ask for a path."""
