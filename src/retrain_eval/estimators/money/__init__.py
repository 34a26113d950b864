"""Whether training is worth its cost: accounts by perspective, present values, benefit–cost ratio and MVPF."""
