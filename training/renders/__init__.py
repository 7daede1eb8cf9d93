"""Made-up jewellery, path traced with Mitsuba 3: pictures that are this project's own."""
