"""A stand-in for `data.tasks.gym_worker` that never answers."""


def act(request):
    while True:
        pass
