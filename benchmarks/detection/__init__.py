"""How soon a rollout's judge sees harm, and how often it sees some where there is none, beside the field's rules."""
