"""The items of OpenAI's Responses API, as the Agents SDK keeps them."""
