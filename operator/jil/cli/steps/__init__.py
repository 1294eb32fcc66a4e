"""What the commands do, one step each: values in, values out, no terminal. Every refusal names the step that is missing."""
