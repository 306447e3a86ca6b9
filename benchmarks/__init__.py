"""What Millrace does beside what is possible on the same machine in the same minute (`make bench`)."""
