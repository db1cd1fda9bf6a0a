"""What people have → schedule files: each module reads one origin, `document` writes what was found."""
