"""``toonify studio``: a web page on this machine that toonifies pictures, clips and a webcam.

    page/          the web page, which depends only on the HTTP interface below
    web.py         the HTTP application
    routes.py      the HTTP interface, with a method for each route
    access.py      which pages may use it
    token.py       who may use it from other machines
    uploads.py     receiving of pictures and clips, within bounds
    refusal.py     refusals, and the bounds of what is received, waits or runs
    library.py     aiohttp, or the error that it is not installed
    studio.py      toonifying of pictures and webcam frames with the package's own API
    clips.py       the queue of clips, which take longer than a request
    catalogue.py   the generators and attributes to choose from
    controls.py    the settings chosen on the page
    encoded_faces.py, kept_faces.py  faces that are encoded once and rendered for each blend of a live model

    GET    /api/models                    generators, attributes and the largest upload
    POST   /api/picture?controls=JSON     bytes of a PNG, JPEG or WebP picture -> a PNG
    POST   /api/attributes?controls=JSON  bytes of a picture -> what its largest face shows, {NAME: PROBABILITY}
    POST   /api/sample?controls=JSON      nothing -> a PNG of the random face whose seed is the control ``face``
    POST   /api/face?controls=JSON        bytes of a picture -> {"id": ID} of its encoded faces
    POST   /api/face/ID?controls=JSON     nothing -> a JPEG of the picture, at most 1280 pixels wide and high
    POST   /api/sheet?controls=JSON       bytes of a picture -> a PNG of its largest face at every r_swap
    WS     /api/camera                    controls as JSON; or a frame, a JPEG -> {"faces": N} and a JPEG
    POST   /api/clip?controls=JSON        bytes of a video -> {"id": ID}
    GET    /api/clip/ID                   its progress, a ``serving.studio.clips.ClipState``, and the clips ahead of it
    GET    /api/clip/ID/result            an MP4
    DELETE /api/clip/ID                   end the work and remove its files

Requests that are not the page's own have to send the header ``X-Requested-With: toonify-studio``; see ``access.py``. A
refused request is answered by ``{"error": SENTENCE}`` and a status of 4xx or 5xx. The work of a request whose sender
goes away is ended.
"""
