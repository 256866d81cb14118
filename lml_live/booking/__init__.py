"""What a hold becomes: a durable claim, a payment, a sale."""
