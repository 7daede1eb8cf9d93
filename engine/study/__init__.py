"""The study: interactions of people who agreed, in places that agreed, and their rights over them."""
