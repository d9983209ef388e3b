"""How an agent is invoked: waited for, beside the conversation, or as part of a flow."""
