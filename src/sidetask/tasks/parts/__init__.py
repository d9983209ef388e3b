"""What the task manager wires: who is who, who may run, who carries out, who hears."""
